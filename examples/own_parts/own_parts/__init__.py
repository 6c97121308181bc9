"""Own parts for headstart: a strategy, a data set, a backbone and a task with its kind of target."""
