"""The columnar format: tables as chunks of typed columns, each column of a chunk readable by itself."""
