"""One file for each client: it pushes with the client, reads back through the API, and looks at the wire."""
