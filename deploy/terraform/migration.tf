# The tables, and what the worker may do with them. They are made within the first apply, before there is a pool; after that
# migrations are a step of a rollout, run before it with the new image (docs/upgrade.md):
#   gcloud run jobs execute headcount-migrate --region=REGION --wait

locals {
  job_sockets     = var.private_network == null ? [local.socket] : []
  job_subnetworks = var.private_network == null ? [] : [var.subnetwork]
  migrate         = ["migrate", "--worker-role=${local.worker_role}"]
}

resource "google_cloud_run_v2_job" "migrate" {
  project             = var.project
  name                = "${var.name}-migrate"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.migration.email
      max_retries     = 1
      timeout         = "3600s"

      containers {
        image = var.image
        args  = local.migrate

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

# Runs once, when it is made: the apply goes on when it has completed, and fails with it.
resource "google_cloud_run_v2_job" "first_migration" {
  provider = google-beta

  project             = var.project
  name                = "${var.name}-first-migration"
  location            = var.region
  deletion_protection = false
  run_execution_token = "once"

  template {
    template {
      service_account = google_service_account.migration.email
      max_retries     = 1
      timeout         = "3600s"

      containers {
        image = var.image
        args  = local.migrate

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

  # A change would run it again.
  lifecycle {
    ignore_changes = all
  }

  depends_on = [
    google_project_iam_member.migration,
    google_secret_manager_secret_iam_member.migration_reads_its_url,
    google_secret_manager_secret_version.migration_url,
    google_sql_user.worker,
  ]
}
