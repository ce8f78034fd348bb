"""When Python's garbage collector may run in the console.

Over all that a console imports, one full collection takes some 100 ms, in which no key is answered; they came every few
seconds while a log rushed in. What is there when the console has opened stays for as long as it runs: set aside, it is
not looked through again.
"""

import gc

SETTLED_AFTER_S = (3.0, 30.0)
"""Since the first paint: what it opens with is there, and what is loaded when it is first needed"""


def hold() -> None:
    """Nothing is collected until `settle`: opening makes little garbage, and many objects."""
    gc.disable()


def held() -> bool:
    return not gc.isenabled()


def settle() -> None:
    """What there is now is not looked through again; what comes from now on is collected as usual."""
    gc.freeze()
    gc.enable()
