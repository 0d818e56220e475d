"""The jobs of this repository: one per file; file name = job name = function name. They import only the door."""
