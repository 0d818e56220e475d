"""The engine: how deliveries become outcomes. It knows no technology, only the small protocols beside the code that
needs them, and it reports to an Observer instead of logging.
"""
