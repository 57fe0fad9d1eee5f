-- What lists of a project's own rows need.

CREATE INDEX events_by_project ON events (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX deployments_by_project ON deployments (project_id, id);
CREATE INDEX project_users_by_user ON project_users (user_id, project_id);
CREATE INDEX api_tokens_by_user ON api_tokens (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX api_tokens_by_project ON api_tokens (project_id, id);

-- Keys of requests are each project's own: nobody learns that somebody else has used one.
UPDATE idempotency_keys SET key = '00000000000000000000000000:' || key;
