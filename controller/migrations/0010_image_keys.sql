-- A wrapped data key that was destroyed is an empty one that nothing has wrapped: its manifest is still of an encrypted
-- image. The index finds those that are left.
CREATE INDEX manifests_with_keys ON manifests (wrapped_by) WHERE wrapped_by IS NOT NULL;
