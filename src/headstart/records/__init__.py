"""Write run directories, and read them safely: reading any folder ends in a record or in a named problem.

Nothing here runs code from a run, follows a link out of it, waits for a pipe, or takes memory beyond the limits.
"""
