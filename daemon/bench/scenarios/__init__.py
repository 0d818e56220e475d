"""The scenarios: one noun each, a function from the bench to a sheet of figures.

Listed in `plan.py`. Each makes its own site on the shared servers and gives the space back.
"""
