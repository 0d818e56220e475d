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

output "pools" {
  description = "The worker pools with the subscriptions that they pull."
  value       = { for name, pool in local.pools : name => pool.subscription }
}

output "migrate" {
  description = "What to run before each rollout but the first, with the image of the new release."
  value       = "gcloud run jobs execute ${google_cloud_run_v2_job.migrate.name} --project=${var.project} --region=${var.region} --wait"
}
