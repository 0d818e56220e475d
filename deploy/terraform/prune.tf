# What is finished and old is deleted once a day. The job logs in with the migration's password, for a job has no proxy
# beside it to log in by IAM, and asks how long the subscriptions keep messages: what could still come must not be
# deleted. The scheduler's account can do nothing but start it.

locals {
  prunes = var.prune_schedule == null ? 0 : 1
}

resource "google_service_account" "pruning" {
  count = local.prunes

  project      = var.project
  account_id   = "${var.name}-pruning"
  display_name = "Deletes what is old in ${var.name}"
  depends_on   = [google_project_service.needed]
}

resource "google_project_iam_member" "pruning" {
  count = local.prunes

  project = var.project
  role    = "roles/cloudsql.client"
  member  = google_service_account.pruning[0].member
}

resource "google_secret_manager_secret_iam_member" "pruning_reads_its_url" {
  count = local.prunes

  project   = var.project
  secret_id = google_secret_manager_secret.migration_url.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.pruning[0].member
}

resource "google_pubsub_subscription_iam_member" "pruning_looks" {
  for_each = { for name, subscription in local.pulled : name => subscription if local.prunes > 0 }

  project      = var.project
  subscription = each.value
  role         = "roles/pubsub.viewer"
  member       = google_service_account.pruning[0].member
}

resource "google_cloud_run_v2_job" "prune" {
  count = local.prunes

  project             = var.project
  name                = "${var.name}-prune"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.pruning[0].email
      max_retries     = 1
      timeout         = "3600s"

      containers {
        image = var.image
        args  = concat(["prune"], var.prune_older_than == null ? [] : ["--older-than=${var.prune_older_than}"])

        dynamic "env" {
          for_each = {
            HEADCOUNT_PROJECT                  = var.project
            HEADCOUNT_JOBS_SUBSCRIPTION        = google_pubsub_subscription.jobs[var.name].name
            HEADCOUNT_DEAD_LETTER_SUBSCRIPTION = google_pubsub_subscription.dead.name
          }
          content {
            name  = env.key
            value = env.value
          }
        }

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
    google_cloud_run_v2_job.first_migration,
    google_project_iam_member.pruning,
    google_pubsub_subscription_iam_member.pruning_looks,
    google_secret_manager_secret_iam_member.pruning_reads_its_url,
    google_secret_manager_secret_version.migration_url,
  ]
}

resource "google_service_account" "scheduler" {
  count = local.prunes

  project      = var.project
  account_id   = "${var.name}-scheduler"
  display_name = "Starts the pruning of ${var.name}"
  depends_on   = [google_project_service.needed]
}

resource "google_cloud_run_v2_job_iam_member" "scheduler_starts_prune" {
  count = local.prunes

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.prune[0].name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler[0].member
}

resource "google_cloud_scheduler_job" "prune" {
  count = local.prunes

  project          = var.project
  region           = var.region
  name             = "${var.name}-prune"
  description      = "Deletes what ended long ago in ${var.name}"
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
