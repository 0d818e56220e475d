"""`headcount bench`: measures workers on servers of its own, against baselines measured seconds before and after.

Called by the command line. Machines move by a factor of two within an hour, so every verdict is a ratio within one run;
absolute figures stand beside it. Nothing in a worker knows that it is measured: it is a real `headcount run`.
"""
