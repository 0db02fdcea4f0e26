"""What is declared once: project settings, request filters and the arguments of commands.

Why: the API's schemas, the OpenAPI document, the command line's options, the columns of the
database, the answers and the reference pages are all made from these tables, so none of them can
differ from another. Must not know any of those that are made from it.
"""
