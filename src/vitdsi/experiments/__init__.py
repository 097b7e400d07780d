"""The paper's tables and figures, and the measurements around them; nothing else imports from here but the command."""
