"""The agent for Android phones, built from a pinned NDK so that anybody gets the same bytes."""
