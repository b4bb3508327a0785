-- What was judged when an update was mended: the update itself, what mends it, and the controls beside
-- them.

-- One candidate of a mending. Each has a comparison of its own with the same old model.
CREATE TABLE candidates (
    mending_id VARCHAR NOT NULL,     -- one run of mending: the id of the update's own comparison
    place INTEGER NOT NULL,          -- order in which they are listed, from 0
    comparison_id VARCHAR NOT NULL,  -- in comparisons: the old model against this one
    name VARCHAR NOT NULL,           -- as shown
    role VARCHAR NOT NULL,           -- update, mitigation or control
    about VARCHAR NOT NULL,          -- one line: what it is
    cost DOUBLE NOT NULL,            -- models that are run for one answer
    is_about BOOLEAN NOT NULL,       -- whether the mending's verdict is about this one
    control_of VARCHAR,              -- for a control of one mitigation alone: its name
    noise JSON                       -- for a mere re-fit: suite -> NFR from the update to it, with interval
);
