"""The paper: everything that only its experiments need."""
