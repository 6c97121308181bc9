"""Run directories as a boundary: whatever a folder holds, reading it ends in values or in a sentence.

Nothing here runs code, follows a link out of the run, waits for a pipe, or takes more memory than the limits allow.
"""
