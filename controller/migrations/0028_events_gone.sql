-- Up to which id the oldest events were deleted: whoever reads on from before that has missed some.
CREATE TABLE events_gone (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    up_to    INTEGER NOT NULL
) STRICT;

INSERT INTO events_gone (only_row, up_to) VALUES (1, 0);
