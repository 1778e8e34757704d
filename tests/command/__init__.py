"""The command as a whole: flags, answers, exit codes, what a caller sees."""
