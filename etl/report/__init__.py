"""The report: from rows of the views to one HTML page. Pure: no database, no clock, no files."""
