"""A renderer for each format; each takes any table. ``page/table.html`` renders HTML."""
