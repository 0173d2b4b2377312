"""How bytes come: deciding, fetching, resuming, checking, publishing, streaming."""
