"""The JSON routes, one file for each noun.

Included by `app`. A route reads its parameters, asks the client or the queries, and answers with their records.
"""
