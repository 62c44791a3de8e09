"""Campaigns: phones over ADB, the Ray fleet, the ledger, traces, publishing, the command line."""
