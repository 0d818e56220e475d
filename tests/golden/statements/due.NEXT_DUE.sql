SELECT CAST(extract(epoch FROM min(publish_at) - statement_timestamp()) AS float8) FROM job
