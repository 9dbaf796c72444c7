"""What is looked at in a browser: the report, one self-contained HTML file (`report`, `report_data`)."""
