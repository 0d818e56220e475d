SELECT 1 / (1 - count(*)) AS whole
FROM (SELECT FROM unnest(CAST(%(ids)s AS uuid[])) AS i (id)
      CROSS JOIN LATERAL (SELECT orchestration_id FROM job WHERE id = i.id AND claim_token = %(token)s LIMIT 1) j
      WHERE NOT EXISTS (SELECT FROM orchestration o WHERE o.id = j.orchestration_id AND o.pruning_at IS NULL)
      LIMIT 1) orphan
