package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"ionlab/internal/domain"
	"ionlab/internal/lab"
	"ionlab/internal/virt"
)

// askLimit bounds the question to a lab's libvirt: a list must not hang on one lab that does.
const askLimit = 10 * time.Second

// sight is what a lab's own libvirt says of it. A lab that is still starting may have no domain yet.
type sight struct {
	lab.Found
	Topology, Owner string
	nodes           []nodeSight
}

// nodeSight is a node of a lab as its libvirt sees it.
type nodeSight struct {
	Name      string
	State     string // of the domain; "no domain" where there is none
	Addresses map[string]string
}

// look asks a lab's libvirt. The labels of its domains are the registry: nothing else is trusted.
func (a *app) look(ctx context.Context, found lab.Found) (sight, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, fmt.Errorf("no answer within %s", askLimit))
	defer cancel()
	infos, err := a.domains(ctx, found.Hypervisor)
	if err != nil {
		return sight{Found: found}, fmt.Errorf("look at lab %s: %w", found.ID, err)
	}
	s := sight{Found: found}
	nodes := map[string]nodeSight{}
	for _, info := range infos {
		if err := s.take(info, nodes); err != nil {
			return s, err
		}
	}
	names, err := found.Nodes()
	if err != nil {
		return s, err
	}
	for _, name := range names {
		if _, ok := nodes[name]; !ok {
			nodes[name] = nodeSight{Name: name, State: "no domain"}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		s.nodes = append(s.nodes, nodes[name])
	}
	return s, nil
}

// take adds a domain, unless it is not this lab's.
func (s *sight) take(info virt.DomainInfo, nodes map[string]nodeSight) error {
	labels, err := domain.ParseLabels(info.XML)
	if errors.Is(err, domain.ErrNoLabels) || err == nil && labels.Lab != s.ID {
		return nil
	}
	if err != nil {
		return fmt.Errorf("domain %q of lab %s: %w", info.Name, s.ID, err)
	}
	s.Topology, s.Owner = labels.Topology, labels.Owner
	nodes[labels.Node] = nodeSight{Name: labels.Node, State: info.State, Addresses: labels.Addresses}
	return nil
}

// find finds the lab that a person means: by id, by the beginning of one, by the name of its topology, or by a dot
// where only one runs. What is not one lab is a usage error that lists the labs there are.
func (a *app) find(ctx context.Context, word string) (lab.Found, error) {
	dirs, err := a.dirs()
	if err != nil {
		return lab.Found{}, err
	}
	labs, err := lab.Find(dirs)
	if err != nil {
		return lab.Found{}, err
	}
	if len(labs) == 0 {
		return lab.Found{}, usage(fmt.Errorf("lab %q: no lab runs below %s; `labtest up FILE` starts one", word, dirs.Run))
	}
	matches := byID(labs, word)
	if len(matches) == 0 {
		matches = a.byTopology(ctx, labs, word)
	}
	switch len(matches) {
	case 1:
		return matches[0], nil
	case 0:
		return lab.Found{}, usage(fmt.Errorf("no lab %q runs here; there are: %s", word, a.list(ctx, labs)))
	}
	return lab.Found{}, usage(fmt.Errorf("%q means more than one lab; there are: %s", word, a.list(ctx, matches)))
}

func byID(labs []lab.Found, word string) []lab.Found {
	if word == "." {
		return labs
	}
	if i := slices.IndexFunc(labs, func(f lab.Found) bool { return f.ID == word }); i >= 0 {
		return labs[i : i+1]
	}
	if word == "" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(labs), func(f lab.Found) bool { return !strings.HasPrefix(f.ID, word) })
}

func (a *app) byTopology(ctx context.Context, labs []lab.Found, name string) []lab.Found {
	var matches []lab.Found
	for _, found := range labs {
		if s, err := a.look(ctx, found); err == nil && name != "" && s.Topology == name {
			matches = append(matches, found)
		}
	}
	return matches
}

// list names labs in a message.
func (a *app) list(ctx context.Context, labs []lab.Found) string {
	var words []string
	for _, found := range labs {
		word := found.ID
		if s, err := a.look(ctx, found); err == nil && s.Topology != "" {
			word += " (" + s.Topology + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// findNode finds a lab and checks that it has the node.
func (a *app) findNode(ctx context.Context, word, node string) (lab.Found, error) {
	found, err := a.find(ctx, word)
	if err != nil {
		return lab.Found{}, err
	}
	names, err := found.Nodes()
	if err != nil {
		return lab.Found{}, err
	}
	if !slices.Contains(names, node) {
		return lab.Found{}, usage(fmt.Errorf("lab %s has no node %q; it has %s%s",
			found.ID, node, strings.Join(names, ", "), didYouMean(node, names)))
	}
	return found, nil
}
