output "worker_account" {
  description = "The account that the worker runs as; grant it what the handlers need."
  value       = google_service_account.worker.email
}

output "worker_role" {
  description = "The worker's role in the database, for deploy/grants.sql."
  value       = local.worker_role
}

output "database" {
  description = "The connection name of the database instance."
  value       = google_sql_database_instance.headcount.connection_name
}

output "migrate" {
  description = "What to run before each rollout."
  value       = "gcloud run jobs execute ${google_cloud_run_v2_job.migrate.name} --project=${var.project} --region=${var.region} --wait"
}
