"""Train and test one network, in named steps."""
