"""The verbs of the command line, by what they do. Each imports what is slow when it runs."""
