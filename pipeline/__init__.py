"""What runs, in which order and where: configuration, the DAG, runners and the command line.

A command that is more than its options has a folder; `cli` names them all. `config` is the typed
configuration, `dag` the steps, `run` one run of them from configuration to verdict; `run_folder` is
what a run leaves, `runners` what it runs on, `caching` when a step need not run again.
"""
