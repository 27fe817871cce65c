-- How often an account was to be asked about since its check began to wait. An answer ends the check only if nothing has asked for
-- it again while the question was under way.
ALTER TABLE account_checks ADD COLUMN requests integer NOT NULL DEFAULT 1;
