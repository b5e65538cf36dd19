"""The images that are scored and filtered: opened by names of data sets, found in lists."""
