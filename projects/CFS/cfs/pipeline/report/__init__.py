"""Report of a pipeline run: content, tables, pictures, files."""
