-- Who gave the title: what a person gave is never replaced. `line`: it is the beginning of the first question.
ALTER TABLE conversations ADD COLUMN title_by TEXT NOT NULL DEFAULT 'person' CHECK (title_by IN ('person', 'line', 'model'));
