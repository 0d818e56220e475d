"""The pure floor: decisions and encodings, with no clock, no random source and no IO.

`now` and `rng` are arguments; everything here is tested by properties. Nothing here may import a technology.
"""
