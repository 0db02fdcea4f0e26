#!/bin/bash
#
# plugin.sh - installs, configures and runs Synergy; devstack calls it at each phase.

# Save trace setting
_XTRACE_SYNERGY_PLUGIN=$(set +o | grep xtrace)
set +o xtrace

source "$SYNERGY_DIR/devstack/lib/synergy"

if is_service_enabled synergy; then
    case "$1 $2" in
        "stack pre-install")
            check_synergy_settings
            ;;
        "stack install")
            echo_summary "Installing Synergy"
            install_synergy
            ;;
        "stack post-config")
            echo_summary "Configuring Synergy"
            configure_synergy
            create_synergy_accounts
            init_synergy
            ;;
        "stack extra")
            echo_summary "Starting Synergy"
            start_synergy
            turn_nova_api_to_synergy
            manage_synergy_projects
            ;;
        "stack test-config")
            # Not before: stack.sh makes the hosts known after "extra".
            check_synergy
            configure_tempest_for_synergy
            ;;
    esac

    if [[ "$1" == "unstack" ]]; then
        stop_synergy
    elif [[ "$1" == "clean" ]]; then
        cleanup_synergy
    fi
fi

# Restore xtrace
$_XTRACE_SYNERGY_PLUGIN

# Tell emacs to use shell-script-mode
## Local variables:
## mode: shell-script
## End:
