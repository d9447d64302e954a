"""The article's table, with what plateau measured beside each of its rows."""
