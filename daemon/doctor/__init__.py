"""`headcount doctor`: whether this environment would run jobs and lose none, checked by meaning and not by existence.

Called by the command of that name. A check asks and compares; it never changes anything, and names the command that
does. One file per technology, one function per question.
"""
