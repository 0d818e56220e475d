# Accounts, none of which can do another's work: the worker, the migration, the pruning and its scheduler (prune.tf), and the autoscaler
# (autoscaler.tf).

resource "google_service_account" "worker" {
  project      = var.project
  account_id   = "${var.name}-worker"
  display_name = "Runs the jobs of ${var.name}"
  depends_on   = [google_project_service.needed]
}

resource "google_service_account" "migration" {
  project      = var.project
  account_id   = "${var.name}-migration"
  display_name = "Changes the schema of ${var.name}"
  depends_on   = [google_project_service.needed]
}

# Logging in to the database as itself, and writing metrics, logs and traces through the collector beside it.
resource "google_project_iam_member" "worker" {
  for_each = toset([
    "roles/cloudsql.client",
    "roles/cloudsql.instanceUser",
    "roles/cloudtrace.agent",
    "roles/logging.logWriter",
    "roles/monitoring.metricWriter",
  ])

  project = var.project
  role    = each.value
  member  = google_service_account.worker.member
}

resource "google_project_iam_member" "migration" {
  project = var.project
  role    = "roles/cloudsql.client"
  member  = google_service_account.migration.member
}

resource "google_secret_manager_secret_iam_member" "worker_reads_handler_secrets" {
  for_each = var.handler_secrets

  project   = var.project
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.worker.member
}

resource "google_secret_manager_secret_iam_member" "migration_reads_its_url" {
  project   = var.project
  secret_id = google_secret_manager_secret.migration_url.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.migration.member
}
