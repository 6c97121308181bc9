"""The tables of a report: each is built once, from the analysis, by one function; ``model`` says what a table is."""
