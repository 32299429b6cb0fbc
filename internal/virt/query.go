package virt

import (
	"context"
	"errors"
	"fmt"
	"os"

	"libvirt.org/go/libvirt"
)

// DomainInfo is a domain as another process sees it.
type DomainInfo struct {
	Name  string
	State string // running, paused, blocked, shutting down, stopped, crashed or suspended; else "unknown"
	XML   string // as it runs; package domain reads the labels in it
}

// Domains asks the private libvirtd in dir, which may be another process's, for its domains. It only reads. A folder
// without a daemon has none.
func Domains(ctx context.Context, dir string) ([]DomainInfo, error) {
	if _, err := os.Stat(Socket(dir)); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	answer := make(chan []DomainInfo, 1)
	err := do(ctx, "ask the private libvirtd in "+dir, func() error {
		infos, err := domains(URI(dir))
		answer <- infos
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-answer, nil
}

func domains(uri string) (infos []DomainInfo, err error) {
	conn, err := libvirt.NewConnect(uri)
	if err != nil {
		return nil, err
	}
	defer func() {
		if _, e := conn.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close the connection: %w", e))
		}
	}()
	list, err := conn.ListAllDomains(0)
	if err != nil {
		return nil, err
	}
	for i := range list {
		info, err := describe(&list[i])
		_ = list[i].Free() // it only drops a reference
		if vanished(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func describe(dom *libvirt.Domain) (DomainInfo, error) {
	name, err := dom.GetName()
	if err != nil {
		return DomainInfo{}, err
	}
	state, _, err := dom.GetState()
	if err != nil {
		return DomainInfo{}, err
	}
	xml, err := dom.GetXMLDesc(0)
	if err != nil {
		return DomainInfo{}, err
	}
	return DomainInfo{Name: name, State: stateName(state), XML: xml}, nil
}

// vanished tells that a domain ended between the list and the question.
func vanished(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) && e.Code == libvirt.ERR_NO_DOMAIN
}

func stateName(state libvirt.DomainState) string {
	switch state { //nolint:exhaustive // the rest is unknown.
	case libvirt.DOMAIN_RUNNING:
		return "running"
	case libvirt.DOMAIN_PAUSED:
		return "paused"
	case libvirt.DOMAIN_BLOCKED:
		return "blocked"
	case libvirt.DOMAIN_SHUTDOWN:
		return "shutting down"
	case libvirt.DOMAIN_SHUTOFF:
		return "stopped"
	case libvirt.DOMAIN_CRASHED:
		return "crashed"
	case libvirt.DOMAIN_PMSUSPENDED:
		return "suspended"
	}
	return "unknown"
}
