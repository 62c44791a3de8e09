"""The demo: the whole path on two virtual phones. `make demo`, or `python -m splitfleet.infra.demo`."""
