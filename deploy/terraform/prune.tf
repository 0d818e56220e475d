# What is finished and old is deleted once a day. The job logs in as the migration does, for a job has no proxy beside it to
# log in by IAM; the scheduler's account can do nothing but start it.

resource "google_cloud_run_v2_job" "prune" {
  count = var.prune_older_than == null ? 0 : 1

  project             = var.project
  name                = "${var.name}-prune"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.migration.email
      max_retries     = 1
      timeout         = "3600s"

      containers {
        image = var.image
        args  = ["prune", "--older-than=${var.prune_older_than}"]

        env {
          name = "HEADCOUNT_DATABASE_URL"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.migration_url.secret_id
              version = "latest"
            }
          }
        }

        dynamic "volume_mounts" {
          for_each = local.job_sockets
          content {
            name       = "cloudsql"
            mount_path = "/cloudsql"
          }
        }
      }

      dynamic "volumes" {
        for_each = local.job_sockets
        content {
          name = "cloudsql"
          cloud_sql_instance {
            instances = [volumes.value]
          }
        }
      }

      dynamic "vpc_access" {
        for_each = local.job_subnetworks
        content {
          egress = "PRIVATE_RANGES_ONLY"
          network_interfaces {
            subnetwork = vpc_access.value
          }
        }
      }
    }
  }

  depends_on = [
    google_project_iam_member.migration,
    google_secret_manager_secret_iam_member.migration_reads_its_url,
    google_secret_manager_secret_version.migration_url,
    google_sql_user.worker,
  ]
}

resource "google_service_account" "scheduler" {
  count = var.prune_older_than == null ? 0 : 1

  project      = var.project
  account_id   = "${var.name}-scheduler"
  display_name = "Starts the pruning of ${var.name}"
  depends_on   = [google_project_service.needed]
}

resource "google_cloud_run_v2_job_iam_member" "scheduler_starts_prune" {
  count = var.prune_older_than == null ? 0 : 1

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.prune[0].name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler[0].member
}

resource "google_cloud_scheduler_job" "prune" {
  count = var.prune_older_than == null ? 0 : 1

  project          = var.project
  region           = var.region
  name             = "${var.name}-prune"
  description      = "Deletes what ended more than ${var.prune_older_than} ago"
  schedule         = var.prune_schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "180s"
  depends_on       = [google_cloud_run_v2_job_iam_member.scheduler_starts_prune]

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.prune[0].id}:run"

    oauth_token {
      service_account_email = google_service_account.scheduler[0].email
    }
  }
}
