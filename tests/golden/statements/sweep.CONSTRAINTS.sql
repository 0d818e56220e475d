SELECT name AS id FROM unnest(ARRAY['job_has_a_future', 'job_is_over', 'job_has_a_place', 'job_dates', 'job_place',
                                    'orchestration_counts', 'orchestration_complete', 'orchestration_outcome',
                                    'orchestration_event']) AS name
WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = name AND c.convalidated)
LIMIT %(limit)s
