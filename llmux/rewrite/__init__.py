"""Changes to requests and answers that touch only the bytes a rule names (SPEC 7 to 10 and 14)."""
