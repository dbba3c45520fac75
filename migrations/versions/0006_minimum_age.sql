-- What the owner keeps out of a writer's hands: how young calls may be when they are deleted by age. And exports that were
-- destroyed where nobody can look.

CREATE TABLE cdr.minimum_age (
    id integer CONSTRAINT one_minimum CHECK (id = 1),
    age interval NOT NULL CONSTRAINT sensible_age CHECK (age >= interval '0' AND age <= interval '1000 years'),
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);
COMMENT ON TABLE cdr.minimum_age IS
    'How old a call must be at least before it is deleted by age, whoever asks for it. Set by cdr.set_minimum_age; no row: any age will do';
COMMENT ON COLUMN cdr.minimum_age.id IS 'Always 1';
COMMENT ON COLUMN cdr.minimum_age.age IS 'The age, such as 6 years 11 mons';
COMMENT ON COLUMN cdr.minimum_age.set_at IS 'When it was set';

ALTER TABLE cdr.export ADD COLUMN destroyed_at timestamptz;
COMMENT ON COLUMN cdr.export.destroyed_at IS 'When somebody took note that what it wrote is destroyed; null: nobody did';

COMMENT ON COLUMN cdr.audit.who IS
    'Who did it: user of the operating system and host; of what the database notes by itself, its user';
