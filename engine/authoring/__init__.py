"""Making profiles: checked, described for editors, written anew, and taken over from what runs already."""
