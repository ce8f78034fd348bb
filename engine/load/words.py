"""The words that synthetic prompts are made of: short and common, so that most tokenizers have one token for each."""

_TEXT = """
able about above act add after again age ago air all along also always among and animal answer any appear apple area
arm art ask away baby back bad bag ball bank base bear beat bed before begin behind bell below best better big bird
black blood blue board boat body bone book born both box boy bread break bright bring brother brown build burn busy
buy call came camp can car card care carry case cat catch cause cell chair chance change check child choose church
circle city class clean clear climb clock close cloud coast coat cold color come common control cook cool copy corn
corner cost could count course cover cow cross crowd cry cup current cut dance dark day dead deal dear death deep
desert design desk dog door double down draw dream dress drink drive drop dry early earth east easy eat edge egg
eight else empty end engine enough equal even evening ever every eye face fact fall family far farm fast father
fear feed feel feet few field fight fill final find fine finger finish fire first fish five flat floor flow flower
fly follow food foot force forest form forward four free fresh friend front fruit full fun game garden gas gate
gave gentle get girl give glad glass gold gone good grass gray great green ground group grow guess gun hair half
hand happy hard hat head hear heart heat heavy held help here high hill history hold hole home hope horse hot hotel
hour house human hundred hunt ice idea inside iron island job join joy jump just keep key kind king kitchen knee
knew knife know lady lake land large last late laugh law lead learn least leave left leg less letter level life
lift light like line lip list listen little live local long look lost lot loud love low luck lunch machine made
main make man many map mark market master match matter may meal mean meat meet metal middle might mile milk mind
minute miss model money month moon more morning most mother mountain mouth move much music must name near neck need
never new next night nine noise none north nose note nothing now number ocean off offer office often oil old once
one only open orange order other our out outside over own page paint pair paper park part party pass past path
pay peace pen people perhaps person piano pick picture piece pig place plain plan plane plant plate play please
pocket point poor possible power present press pretty price print prize promise public pull purple push put
"""
WORDS = tuple(_TEXT.split())
