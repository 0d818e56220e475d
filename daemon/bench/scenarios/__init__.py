"""The scenarios: one noun each, a function from the bench to a report of figures.

Listed in `plan.py`. Each makes its own environment on the shared servers and gives the space back.
"""
